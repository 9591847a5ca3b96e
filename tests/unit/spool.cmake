tern_unit_test(test_spool LIBS tern_spool)

# The simulated disk: a part of the crash rounds with every run of the unit tests, all of it under "crash".
add_executable(test_spool_crash ../crash/test_spool_crash.c ../support/simdisk.c ../support/spoolwork.c)
target_include_directories(test_spool_crash PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(test_spool_crash PRIVATE tern_spool)
add_test(NAME test_spool_crash_quick COMMAND test_spool_crash 300)
add_test(NAME test_spool_crash_quick_faults COMMAND test_spool_crash 300 3 5 20)
set_tests_properties(test_spool_crash_quick test_spool_crash_quick_faults PROPERTIES LABELS unit TIMEOUT 120)
add_test(NAME test_spool_crash COMMAND test_spool_crash 4000)
add_test(NAME test_spool_crash_faults COMMAND test_spool_crash 2000 1 11 20)
set_tests_properties(test_spool_crash test_spool_crash_faults PROPERTIES LABELS crash TIMEOUT 1800)
tern_unit_test(test_spool_fault SOURCES test_spool_fault.c ../support/simdisk.c ../support/spoolwork.c LIBS tern_spool)
target_include_directories(test_spool_fault PRIVATE ${PROJECT_SOURCE_DIR}/tests)

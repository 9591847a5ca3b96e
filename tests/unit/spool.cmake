tern_unit_test(test_spool LIBS tern_spool)

# The simulated disk: a part of the crash rounds with every run of the unit tests, all of it under "crash".
add_executable(test_spool_crash ../crash/test_spool_crash.c ../support/simdisk.c ../support/spoolwork.c)
target_include_directories(test_spool_crash PRIVATE ${PROJECT_SOURCE_DIR}/tests)
target_link_libraries(test_spool_crash PRIVATE tern_spool)
add_test(NAME test_spool_crash_quick COMMAND test_spool_crash 300)
set_tests_properties(test_spool_crash_quick PROPERTIES LABELS unit TIMEOUT 120)
add_test(NAME test_spool_crash COMMAND test_spool_crash 4000)
set_tests_properties(test_spool_crash PROPERTIES LABELS crash TIMEOUT 1200)

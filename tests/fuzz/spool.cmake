tern_fuzz_target(fuzz_spool_segment LIBS tern_spool)
target_sources(fuzz_spool_segment PRIVATE ${PROJECT_SOURCE_DIR}/tests/support/simdisk.c)
target_include_directories(fuzz_spool_segment PRIVATE ${PROJECT_SOURCE_DIR}/tests)
tern_fuzz_target(fuzz_envelope LIBS tern_state)

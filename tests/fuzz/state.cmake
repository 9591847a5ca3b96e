tern_fuzz_target(fuzz_table LIBS tern_state)

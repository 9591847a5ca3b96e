tern_fuzz_target(fuzz_local LIBS tern_local)

tern_fuzz_target(fuzz_milter LIBS tern_milter)

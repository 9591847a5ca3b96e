tern_fuzz_target(fuzz_policy LIBS tern_module)

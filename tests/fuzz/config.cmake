tern_fuzz_target(fuzz_config LIBS tern_config)

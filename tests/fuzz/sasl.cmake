tern_fuzz_target(fuzz_sasl LIBS tern_sasl)

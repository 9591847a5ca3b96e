tern_fuzz_target(fuzz_proxy LIBS tern_net)

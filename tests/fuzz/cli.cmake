tern_fuzz_target(fuzz_smtpt LIBS tern_cli)

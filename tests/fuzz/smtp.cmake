tern_fuzz_target(fuzz_smtp_command LIBS tern_smtp)
tern_fuzz_target(fuzz_smtp_session LIBS tern_smtp)
tern_fuzz_target(fuzz_params LIBS tern_smtp)
tern_fuzz_target(fuzz_xclient LIBS tern_smtp)

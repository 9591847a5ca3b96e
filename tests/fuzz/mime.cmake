tern_fuzz_target(fuzz_address LIBS tern_mime)
tern_fuzz_target(fuzz_header LIBS tern_mime)
tern_fuzz_target(fuzz_parts LIBS tern_mime)
tern_fuzz_target(fuzz_date LIBS tern_mime)

tern_fuzz_target(fuzz_dns_answer LIBS tern_dns)

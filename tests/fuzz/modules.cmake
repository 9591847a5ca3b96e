tern_fuzz_target(fuzz_password LIBS tern_module_lib)
tern_fuzz_target(fuzz_users LIBS tern_module_lib dep::yaml dep::sodium)
target_sources(fuzz_users PRIVATE ${PROJECT_SOURCE_DIR}/modules/auth_file/users.c
  ${PROJECT_SOURCE_DIR}/modules/auth_file/users_yaml.c)
tern_fuzz_target(fuzz_template LIBS tern_module_template)
tern_fuzz_target(fuzz_dovecot LIBS tern_api dep::sodium)
target_sources(fuzz_dovecot PRIVATE ${PROJECT_SOURCE_DIR}/modules/auth_dovecot/protocol.c)
tern_fuzz_target(fuzz_auth_http LIBS tern_api dep::jansson)
target_sources(fuzz_auth_http PRIVATE ${PROJECT_SOURCE_DIR}/modules/auth_http/question.c)

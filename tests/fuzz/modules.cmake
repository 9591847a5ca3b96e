tern_fuzz_target(fuzz_password LIBS tern_module_lib)
tern_fuzz_target(fuzz_users LIBS tern_module_lib dep::yaml dep::sodium)
target_sources(fuzz_users PRIVATE ${PROJECT_SOURCE_DIR}/modules/auth_file/users.c
  ${PROJECT_SOURCE_DIR}/modules/auth_file/users_yaml.c)
tern_fuzz_target(fuzz_template LIBS tern_module_template)

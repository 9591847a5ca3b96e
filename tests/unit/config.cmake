tern_unit_test(test_yaml LIBS tern_config)
tern_unit_test(test_schema LIBS tern_config)

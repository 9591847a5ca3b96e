# What modules share.
tern_unit_test(test_password LIBS tern_module_lib)

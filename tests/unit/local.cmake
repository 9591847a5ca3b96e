tern_unit_test(test_local LIBS tern_local)

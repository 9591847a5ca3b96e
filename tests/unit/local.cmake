tern_unit_test(test_local LIBS tern_local)
tern_unit_test(test_local_serve LIBS tern_local)

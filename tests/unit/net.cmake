tern_unit_test(test_net LIBS tern_net)

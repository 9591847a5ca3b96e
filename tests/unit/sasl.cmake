tern_unit_test(test_sasl LIBS tern_sasl)

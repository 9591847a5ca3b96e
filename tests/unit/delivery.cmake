tern_unit_test(test_client LIBS tern_delivery)

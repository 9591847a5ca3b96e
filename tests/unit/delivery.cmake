tern_unit_test(test_client LIBS tern_delivery)
tern_unit_test(test_bounce LIBS tern_delivery)

tern_unit_test(test_address LIBS tern_mime dep::jansson)
tern_unit_test(test_header LIBS tern_mime)
tern_unit_test(test_parts LIBS tern_mime)
tern_unit_test(test_date LIBS tern_mime)

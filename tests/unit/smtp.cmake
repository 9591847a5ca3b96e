tern_unit_test(test_smtp_data LIBS tern_smtp dep::jansson)
tern_unit_test(test_smtp_dialogues LIBS tern_smtp)
tern_unit_test(test_smtp_grammar LIBS tern_smtp)
tern_unit_test(test_smtp_session LIBS tern_smtp)

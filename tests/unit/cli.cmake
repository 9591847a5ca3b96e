tern_unit_test(test_smtpt LIBS tern_cli)

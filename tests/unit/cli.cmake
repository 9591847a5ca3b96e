tern_unit_test(test_smtpt LIBS tern_cli)
tern_unit_test(test_dmarc_sources LIBS tern_cli)

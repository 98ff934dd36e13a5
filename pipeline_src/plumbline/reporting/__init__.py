"""The report: tables, figures and the page, from comparison stores alone."""

cpdef object outcome_row(object outcome, double seconds=*, str why=*)

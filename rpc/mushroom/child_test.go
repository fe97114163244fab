package mushroom_test

// childVariable names what a copy of the test program started by a test is to do.
const childVariable = "MUSHROOM_TEST_CHILD"

func runChild(string) int { return 2 }

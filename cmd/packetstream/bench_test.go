package main

func echoBarely() int { return 0 }

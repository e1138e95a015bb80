//go:build arm && !arm.6

package main

const goarm = "5"

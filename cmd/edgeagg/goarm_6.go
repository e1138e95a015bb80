//go:build arm.6 && !arm.7

package main

const goarm = "6"

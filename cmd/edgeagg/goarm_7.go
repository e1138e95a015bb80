//go:build arm.7

package main

const goarm = "7"

//go:build !arm

package main

const goarm = ""

// Package board is the machine that edgeagg runs on: its clock, its identity
// and its card. It needs no root for any of it.
package board

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
)

// Identity is what tells one board from another.
type Identity struct {
	Hostname string
	Serial   string // of the board, from the device tree or DMI; "" if it has none
	MAC      string // of the first network card that is hardware, 12 hex digits; "" if it has none
	Machine  string // /etc/machine-id: tells installations apart, not boards
}

// Identify reads the board's identity. Root moves /sys, /proc and /etc, for
// tests; "" is "/".
func Identify(root string) Identity {
	var id Identity
	id.Hostname, _ = os.Hostname()
	if id.Hostname == "" {
		id.Hostname = "localhost"
	}
	for _, name := range []string{
		"proc/device-tree/serial-number", // Raspberry Pi and most device tree boards
		"sys/class/dmi/id/product_serial",
		"sys/class/dmi/id/board_serial",
	} {
		if id.Serial = readLine(filepath.Join("/", root, name)); id.Serial != "" {
			break
		}
	}
	cards, _ := filepath.Glob(filepath.Join("/", root, "sys/class/net/*/address"))
	for _, card := range cards {
		mac, err := net.ParseMAC(readLine(card))
		if err != nil || len(mac) != 6 {
			continue
		}
		// Only hardware has a device; address type 0 is for good (sysfs-class-net).
		_, err = os.Stat(filepath.Join(filepath.Dir(card), "device"))
		if err == nil && readLine(filepath.Join(filepath.Dir(card), "addr_assign_type")) == "0" {
			id.MAC = hex.EncodeToString(mac)
			break
		}
	}
	id.Machine = readLine(filepath.Join("/", root, "etc/machine-id"))
	return id
}

// Board is what stays the same on one board and differs on the next: its
// serial number, else its MAC address, else the installation.
func (id Identity) Board() string {
	for _, s := range []string{id.Serial, id.MAC, id.Machine} {
		if s != "" {
			return s
		}
	}
	return id.Hostname
}

func readLine(name string) string {
	b, _ := os.ReadFile(name)
	return strings.Trim(string(b), " \t\r\n\x00")
}

// BootID is the kernel's random number of this boot.
func BootID() ([16]byte, error) {
	const name = "/proc/sys/kernel/random/boot_id"
	b, err := os.ReadFile(name)
	if err != nil {
		return [16]byte{}, fmt.Errorf("boot id: %w", err)
	}
	var id [16]byte
	n, err := hex.Decode(id[:], []byte(strings.ReplaceAll(strings.TrimSpace(string(b)), "-", "")))
	if err != nil || n != 16 {
		return id, fmt.Errorf("boot id: %s holds %q", name, b)
	}
	return id, nil
}

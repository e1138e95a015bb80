package config

// The addresses that devices may have (I2C-bus specification UM10204, section
// 3.1.12, reserves the others; 0x03 to 0x07 are in use all the same).
const (
	lowAddress  = 0x03
	highAddress = 0x77
)

// address takes the 7-bit address of a device on an I2C bus.
func address(to *uint16) func(*value) {
	return func(v *value) {
		n, ok := v.integer()
		if !ok || n < lowAddress || n > highAddress {
			v.expected("an address from %#02x to %#02x, for example 0x76", lowAddress, highAddress)
			return
		}
		*to = uint16(n)
	}
}

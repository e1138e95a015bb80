package config

import "strings"

// senml are the unit names of the SenML registry: RFC 8428, section 12.1, then
// the primary and the secondary ones that RFC 8798 and later entries add.
var senml = strings.Fields(`
	m kg g s A K cd mol Hz rad sr N Pa J W C V F Ohm S Wb T H Cel lm lx Bq Gy Sv kat
	m2 m3 l m/s m/s2 m3/s l/s W/m2 cd/m2 bit bit/s lat lon pH dB dBW Bspl
	count / % %RH %EL EL 1/s 1/min beat/min beats S/m
	B VA VAs var vars J/m kg/m3 deg NTU
	ms min h MHz kW kVA kvar Ah Wh kWh varh kvarh kVAh Wh/km KiB GB Mbit/s B/s MB/s
	mV mA dBm ug/m3 mm/h m/h ppm /100 /1000 hPa mm cm km km/h
	ppb ppt VAh mg/l ug/l g/l`)

// usual are other ways to write some of them.
var usual = map[string]string{
	"°C": "Cel", "degC": "Cel", "Celsius": "Cel", "Ω": "Ohm", "lux": "lx", "°": "deg",
	"rpm": "1/min", "bpm": "beat/min", "µg/m3": "ug/m3", "m²": "m2", "m³": "m3", "L": "l",
}

// senmlUnit reports whether unit is a SenML name, and if not, which one may be
// meant.
func senmlUnit(unit string) (ok bool, meant string) {
	meant = usual[unit]
	for _, u := range senml {
		if u == unit {
			return true, ""
		}
		if meant == "" && strings.EqualFold(u, unit) {
			meant = u
		}
	}
	return false, meant
}

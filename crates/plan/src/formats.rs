//! What an email address, an IBAN or a currency code is: fixed definitions, so that a verdict never changes silently.
//!
//! All of version 1. Each reads the whole text, exactly as it stands: no trimming, no guessing. A definition that
//! changes gets a new version and keeps the old one. Codes are those of ISO 3166-1 (alpha-2) and ISO 4217 as of
//! January 2025; IBAN lengths are those of the SWIFT registry, release 99. None of them asks a network whether the
//! address, card or account exists.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use chrono::{DateTime, NaiveDate};

/// A kind of text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// `local@domain`: RFC 5321 without quotes and address literals, ASCII, a domain of two labels at least.
    Email,
    /// Hexadecimal digits in groups of 8-4-4-4-12, any case, any version.
    Uuid,
    /// `scheme://host…` of RFC 3986: no white space, a host, a port that is a number.
    Url,
    /// An IPv4 or IPv6 address.
    Ip,
    /// An IPv4 address.
    Ipv4,
    /// An IPv6 address without zone.
    Ipv6,
    /// `YYYY-MM-DD` of the calendar.
    IsoDate,
    /// RFC 3339: date, time, and offset or `Z`.
    IsoDatetime,
    /// E.164: `+`, then 2 to 15 digits, the first not zero.
    Phone,
    /// An IBAN with its checksum, in capitals, alone or in groups of four.
    Iban,
    /// 12 to 19 digits with Luhn's checksum; single blanks or hyphens may stand between them.
    CreditCard,
    /// ISO 3166-1 alpha-2, capitals.
    CountryCode,
    /// ISO 4217, capitals.
    CurrencyCode,
}

/// Words of the document.
pub(crate) const FORMATS: [(&str, Format); 13] = [
    ("email", Format::Email),
    ("uuid", Format::Uuid),
    ("url", Format::Url),
    ("ip", Format::Ip),
    ("ipv4", Format::Ipv4),
    ("ipv6", Format::Ipv6),
    ("iso_date", Format::IsoDate),
    ("iso_datetime", Format::IsoDatetime),
    ("phone", Format::Phone),
    ("iban", Format::Iban),
    ("credit_card", Format::CreditCard),
    ("country_code", Format::CountryCode),
    ("currency_code", Format::CurrencyCode),
];

impl Format {
    /// Whether a text is of this format.
    pub(crate) fn holds(self, text: &str) -> bool {
        match self {
            Format::Email => is_email(text),
            Format::Uuid => is_uuid(text.as_bytes()),
            Format::Url => is_url(text),
            Format::Ip => text.parse::<IpAddr>().is_ok(),
            Format::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            Format::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            Format::IsoDate => is_iso_date(text),
            Format::IsoDatetime => text.is_ascii() && DateTime::parse_from_rfc3339(text).is_ok(),
            Format::Phone => is_phone(text.as_bytes()),
            Format::Iban => is_iban(text),
            Format::CreditCard => is_credit_card(text.as_bytes()),
            Format::CountryCode => text.len() == 2 && listed(COUNTRIES, text),
            Format::CurrencyCode => text.len() == 3 && listed(CURRENCIES, text),
        }
    }
}

/// Whether a list of words of one length, divided by blanks, has a word.
fn listed(words: &str, word: &str) -> bool {
    words.split_ascii_whitespace().any(|known| known == word)
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return false;
    };
    let atom = |part: &str| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-".contains(&b);
        !part.is_empty() && part.bytes().all(allowed)
    };
    text.len() <= 254 && local.len() <= 64 && local.split('.').all(atom) && is_domain(domain)
}

/// Two labels at least, the last not of digits alone.
fn is_domain(domain: &str) -> bool {
    let label = |part: &str| {
        (1..=63).contains(&part.len())
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !part.starts_with('-')
            && !part.ends_with('-')
    };
    match domain.rsplit_once('.') {
        Some((_, top)) => domain.split('.').all(label) && !top.bytes().all(|b| b.is_ascii_digit()),
        None => false,
    }
}

fn is_uuid(text: &[u8]) -> bool {
    text.len() == 36
        && text.iter().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => *b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let begins = scheme.bytes().next().is_some_and(|b| b.is_ascii_alphabetic());
    let scheme_bytes = |b: u8| b.is_ascii_alphanumeric() || b"+.-".contains(&b);
    if !begins || !scheme.bytes().all(scheme_bytes) {
        return false;
    }
    if !rest
        .chars()
        .all(|c| c.is_ascii_graphic() && !"<>\"{}|\\^`".contains(c))
        || !escapes_are_whole(rest)
    {
        return false;
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let place = authority.rsplit_once('@').map_or(authority, |(_, place)| place);
    let (host, port) = match place.strip_prefix('[') {
        Some(literal) => match literal.split_once(']') {
            Some((address, port)) if address.parse::<Ipv6Addr>().is_ok() => ("literal", port),
            _ => return false,
        },
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let port_is_number = port.is_empty()
        || port.strip_prefix(':').is_some_and(|port| {
            port.is_empty() || (port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok())
        });
    let host_bytes = |b: u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(&b);
    !host.is_empty() && host.bytes().all(host_bytes) && port_is_number
}

/// Every `%` is followed by two hexadecimal digits.
fn escapes_are_whole(text: &str) -> bool {
    let mut parts = text.split('%');
    parts.next();
    parts.all(|part| part.len() >= 2 && part.as_bytes()[..2].iter().all(u8::is_ascii_hexdigit))
}

fn is_iso_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let shape = bytes.len() == 10
        && bytes.iter().enumerate().all(|(i, b)| match i {
            4 | 7 => *b == b'-',
            _ => b.is_ascii_digit(),
        });
    shape && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
}

fn is_phone(text: &[u8]) -> bool {
    match text {
        [b'+', b'1'..=b'9', rest @ ..] => {
            (1..=14).contains(&rest.len()) && rest.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    }
}

fn is_iban(text: &str) -> bool {
    let mut compact = [0u8; 34];
    let mut length = 0;
    for (group, part) in text.split(' ').enumerate() {
        let last = text.split(' ').count() == group + 1;
        let whole = group == 0 && last;
        let fits = whole || part.len() == 4 || (last && (1..4).contains(&part.len()));
        if !fits || length + part.len() > compact.len() {
            return false;
        }
        compact[length..length + part.len()].copy_from_slice(part.as_bytes());
        length += part.len();
    }
    let iban = &compact[..length];
    let mut entries = IBAN_LENGTHS
        .split_ascii_whitespace()
        .map(|entry| entry.split_at(2));
    let known = entries.find(|(country, _)| iban.get(..2) == Some(country.as_bytes()));
    let expected = known.and_then(|(_, digits)| digits.parse::<usize>().ok());
    if expected != Some(length) || !iban[2..4].iter().all(u8::is_ascii_digit) {
        return false;
    }
    let mut rest = 0u32;
    for byte in iban[4..].iter().chain(&iban[..4]) {
        rest = match byte {
            b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
            b'A'..=b'Z' => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
            _ => return false,
        };
    }
    rest == 1
}

fn is_credit_card(text: &[u8]) -> bool {
    let (mut sum, mut digits, mut after_digit) = (0u32, 0u32, false);
    for byte in text.iter().rev() {
        match byte {
            b'0'..=b'9' => {
                let digit = u32::from(byte - b'0');
                sum += match digits % 2 {
                    0 => digit,
                    _ if digit > 4 => digit * 2 - 9,
                    _ => digit * 2,
                };
                digits += 1;
                after_digit = true;
            }
            b' ' | b'-' if after_digit => after_digit = false,
            _ => return false,
        }
    }
    after_digit && (12..=19).contains(&digits) && sum.is_multiple_of(10)
}

const COUNTRIES: &str = "AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR \
BS BT BV BW BY BZ CA CC CD CF CG CH CI CK CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI \
FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS \
IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV LY MA MC MD ME MF MG MH MK ML MM MN MO \
MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM PN PR PS PT PW PY QA \
RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR TT \
TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW";

const CURRENCIES: &str = "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BGN BHD BIF BMD BND BOB BOV BRL BSD BTN BWP \
BYN BZD CAD CDF CHE CHF CHW CLF CLP CNY COP COU CRC CUP CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS \
GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP \
LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK \
PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP \
TRY TTD TWD TZS UAH UGX USD USN UYI UYU UYW UZS VED VES VND VUV WST XAF XAG XAU XBA XBB XBC XBD XCD XCG XDR XOF XPD \
XPF XPT XSU XTS XUA XXX YER ZAR ZMW ZWG";

const IBAN_LENGTHS: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 \
DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 \
JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 \
PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 \
XK20 YE30";

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(format: Format, yes: &[&str], no: &[&str]) {
        for text in yes {
            assert!(format.holds(text), "{format:?} refuses {text}");
        }
        for text in no {
            assert!(!format.holds(text), "{format:?} takes {text:?}");
        }
    }

    #[test]
    fn addresses_are_judged_as_they_stand() {
        judged(
            Format::Email,
            &["a@b.co", "first.last+tag@sub.example.org", "x_y@1-2.io"],
            &[
                "",
                "a",
                "@b.co",
                "a@b",
                "a@.co",
                "a..b@c.de",
                ".a@c.de",
                "a b@c.de",
                " a@b.co",
                "a@b.co ",
                "a@-b.co",
                "a@b.12",
                "ä@b.co",
                "a@b@c.de",
            ],
        );
        judged(
            Format::Url,
            &[
                "http://a",
                "https://example.org/a?b=c#d",
                "ftp://u:p@h:21/x",
                "http://[::1]:80/",
                "s3://bucket/key",
            ],
            &[
                "",
                "example.org",
                "http://",
                "http:///x",
                "http://a b",
                "://a",
                "1http://a",
                "http://a:port",
                "http://a:99999",
                "http://[::1",
                "http://a/%2",
                "mailto:a@b.co",
            ],
        );
        judged(
            Format::Ip,
            &["1.2.3.4", "::1", "fe80::1"],
            &["1.2.3", "256.1.1.1", "01.2.3.4", "fe80::1%eth0", "1.2.3.4/8", ""],
        );
        judged(Format::Ipv4, &["1.2.3.4"], &["::1"]);
        judged(Format::Ipv6, &["::1"], &["1.2.3.4"]);
        judged(
            Format::Phone,
            &["+14155552671", "+4930123456", "+12"],
            &[
                "+0123",
                "14155552671",
                "+1 415",
                "+1",
                "+1234567890123456",
                "+",
                "",
            ],
        );
    }

    #[test]
    fn checksums_are_computed() {
        judged(
            Format::Iban,
            &[
                "DE89370400440532013000",
                "DE89 3704 0044 0532 0130 00",
                "GB82WEST12345698765432",
                "NO9386011117947",
                "MT84MALT011000012345MTLCAST001S",
            ],
            &[
                "DE88370400440532013000",
                "DE8937040044053201300",
                "de89370400440532013000",
                "XX89370400440532013000",
                "DE89 37 040044053201 3000",
                "DE89370400440532013000 ",
                "",
                "D",
            ],
        );
        judged(
            Format::CreditCard,
            &[
                "4111111111111111",
                "4111 1111 1111 1111",
                "378282246310005",
                "4111-1111-1111-1111",
            ],
            &[
                "4111111111111112",
                "4111  1111 1111 1111",
                "0",
                "",
                " 4111111111111111",
                "4111111111111111 ",
                "41111111111111110000000",
                "4111x11111111111",
            ],
        );
    }

    #[test]
    fn codes_and_dates_are_those_of_their_standards() {
        judged(
            Format::CountryCode,
            &["DE", "US"],
            &["de", "XX", "UK", "D", "DEU", "D ", "E "],
        );
        judged(
            Format::CurrencyCode,
            &["EUR", "USD", "JPY"],
            &["eur", "DEM", "EU", "R R", ""],
        );
        judged(
            Format::IsoDate,
            &["2024-02-29", "0001-01-01"],
            &["2023-02-29", "2024-2-9", "20240229", "2024-02-29T00:00:00Z", ""],
        );
        judged(
            Format::IsoDatetime,
            &["2024-02-29T23:59:59Z", "2024-02-29T23:59:59.5+01:00"],
            &["2024-02-29", "2024-02-29T23:59:59", "2024-02-30T00:00:00Z"],
        );
        judged(
            Format::Uuid,
            &[
                "123e4567-e89b-12d3-a456-426614174000",
                "123E4567-E89B-12D3-A456-426614174000",
            ],
            &[
                "123e4567e89b12d3a456426614174000",
                "{123e4567-e89b-12d3-a456-426614174000}",
                "123e4567-e89b-12d3-a456-42661417400g",
                "",
            ],
        );
        assert_eq!(COUNTRIES.split_ascii_whitespace().count(), 249);
    }
}

//! The colours of a plot: of a theme, of methods, of layers, of levels.
//!
//! Methods have the palette of Okabe and Ito, "Color Universal Design" (2008), in an order that
//! starts with the largest contrast on the background; yellow is left out on white and the deep
//! blue on dark. Layers and levels are blends of one colour with the background,
//!
//! ```text
//! blend(a, b, t) = a + t (b - a)       each channel, rounded; t = 0 is a, t = 1 is b
//! ```

use super::Theme;

pub(super) type Rgb = [u8; 3];

pub(super) const BLUE: Rgb = [0x00, 0x72, 0xb2];
pub(super) const SKY: Rgb = [0x56, 0xb4, 0xe9];
pub(super) const VERMILION: Rgb = [0xd5, 0x5e, 0x00];
pub(super) const ORANGE: Rgb = [0xe6, 0x9f, 0x00];
const GREEN: Rgb = [0x00, 0x9e, 0x73];
const PURPLE: Rgb = [0xcc, 0x79, 0xa7];
const YELLOW: Rgb = [0xf0, 0xe4, 0x42];
const BLACK: Rgb = [0x00, 0x00, 0x00];
const WHITE: Rgb = [0xff, 0xff, 0xff];

pub(super) const OF_LIGHT: [Rgb; 7] = [BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK];
pub(super) const OF_DARK: [Rgb; 7] = [SKY, ORANGE, GREEN, PURPLE, YELLOW, VERMILION, WHITE];

impl Theme {
    pub(super) fn background(self) -> Rgb {
        match self {
            Self::Light => WHITE,
            Self::Dark => [0x1b, 0x1b, 0x1b],
        }
    }

    pub(super) fn text(self) -> Rgb {
        match self {
            Self::Light => BLACK,
            Self::Dark => [0xe6, 0xe6, 0xe6],
        }
    }

    pub(super) fn grid(self) -> Rgb {
        blend(self.background(), self.text(), 0.15)
    }

    /// The colour of a series; after seven they return, and [`round`] counts how often.
    pub(super) fn series(self, index: usize) -> Rgb {
        let palette = match self {
            Self::Light => OF_LIGHT,
            Self::Dark => OF_DARK,
        };
        palette[index % palette.len()]
    }

    /// Below zero, above zero: the two arms of a diverging scale.
    pub(super) fn arms(self) -> [Rgb; 2] {
        match self {
            Self::Light => [BLUE, VERMILION],
            Self::Dark => [SKY, ORANGE],
        }
    }
}

/// How often the palette has been used up before this series.
pub(super) fn round(index: usize) -> usize {
    index / OF_LIGHT.len()
}

/// `t` in `0.0..=1.0`; NaN is 0.
pub(super) fn blend(from: Rgb, to: Rgb, t: f64) -> Rgb {
    std::array::from_fn(|channel| {
        let (a, b) = (f64::from(from[channel]), f64::from(to[channel]));
        (a + t.clamp(0.0, 1.0) * (b - a)).round() as u8
    })
}

pub(super) fn hex([red, green, blue]: Rgb) -> String {
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// Relative luminance of WCAG 2.1, from 0 (black) to 1 (white).
pub(super) fn luminance(colour: Rgb) -> f64 {
    let linear = colour.map(|channel| {
        let share = f64::from(channel) / 255.0;
        if share <= 0.04045 {
            share / 12.92
        } else {
            ((share + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

/// The one of black and white that reads better on a colour.
pub(super) fn readable_on(colour: Rgb) -> Rgb {
    if contrast(colour, BLACK) >= contrast(colour, WHITE) {
        BLACK
    } else {
        WHITE
    }
}

/// Contrast ratio of WCAG 2.1, from 1 to 21.
pub(super) fn contrast(a: Rgb, b: Rgb) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contrast_is_that_of_wcag() {
        assert_eq!(contrast(BLACK, WHITE), 21.0);
        assert_eq!(contrast(BLUE, BLUE), 1.0);
    }

    #[test]
    fn every_series_stands_out_from_its_background() {
        // 3:1 is what WCAG 2.1 asks of graphics. Orange and sky blue on white miss it (2.1 and 2.3)
        // and purple (2.9); they come fourth to sixth.
        let floor = |theme: Theme, index: usize| {
            if theme == Theme::Dark || index < 3 {
                3.0
            } else {
                2.0
            }
        };
        for theme in [Theme::Light, Theme::Dark] {
            for index in 0..7 {
                let ratio = contrast(theme.series(index), theme.background());
                assert!(ratio > floor(theme, index), "{theme:?} {index}: {ratio}");
            }
        }
    }

    #[test]
    fn text_reads_on_every_colour() {
        for red in (0..=255).step_by(51) {
            for green in (0..=255).step_by(51) {
                for blue in (0..=255).step_by(51) {
                    let colour = [red, green, blue].map(|c: i32| c as u8);
                    assert!(contrast(colour, readable_on(colour)) > 4.5); // WCAG's AA for text
                }
            }
        }
    }

    #[test]
    fn a_blend_ends_at_its_ends() {
        assert_eq!(blend(BLUE, ORANGE, 0.0), BLUE);
        assert_eq!(blend(BLUE, ORANGE, 1.0), ORANGE);
        assert_eq!(blend(BLACK, WHITE, 0.5), [128; 3]);
        assert_eq!(hex(BLUE), "#0072b2");
    }
}

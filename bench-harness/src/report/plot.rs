//! One plot as SVG. Its colours are CSS variables of the page, so that it is readable in light and dark.

use std::ops::Range;

use plotters::coord::Shift;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use plotters::style::FontTransform;

type Error = Box<dyn std::error::Error>;

const WIDTH: u32 = 720;
const HEIGHT: u32 = 260;
/// Stand for CSS variables in what the library writes.
const TEXT: RGBColor = RGBColor(1, 1, 1);
const GRID: RGBColor = RGBColor(1, 1, 2);
const LINES: [RGBColor; 6] = [
    RGBColor(1, 2, 1),
    RGBColor(1, 2, 2),
    RGBColor(1, 2, 3),
    RGBColor(1, 2, 4),
    RGBColor(1, 2, 5),
    RGBColor(1, 2, 6),
];
/// How much lower than the lowest value a logarithmic axis begins.
const LOG_MARGIN: f64 = 0.8;

/// What is drawn: lines over one axis.
#[derive(Clone, Debug, Default)]
pub(super) struct Plot {
    pub(super) title: String,
    pub(super) x_label: String,
    pub(super) y_label: String,
    pub(super) log_x: bool,
    pub(super) log_y: bool,
    /// By their names.
    pub(super) lines: Vec<(String, Points)>,
}

/// Where and what; a gap where there is no value.
pub(super) type Points = Vec<(f64, Option<f64>)>;

/// The colour of a line, as a CSS variable.
pub(super) fn colour(line: usize) -> String {
    format!("var(--line-{})", line % LINES.len() + 1)
}

impl Plot {
    fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        let all = self.lines.iter().flat_map(|(_, points)| points);
        all.filter_map(|(x, y)| Some((*x, (*y)?)))
    }

    /// Whether there is something to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.points().next().is_none()
    }

    /// The picture; empty when the library refuses.
    pub(super) fn svg(&self) -> String {
        let mut svg = String::new();
        let backend = SVGBackend::with_string(&mut svg, (WIDTH, HEIGHT));
        let drawn = self.draw(&backend.into_drawing_area());
        if drawn.is_err() {
            return String::new();
        }
        themed(&svg)
    }

    fn draw(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), Error> {
        let x = range(self.points().map(|p| p.0), self.log_x);
        let y = range(self.points().map(|p| p.1), self.log_y);
        match (self.log_x, self.log_y) {
            (false, false) => self.draw_in(area, x, y)?,
            (false, true) => self.draw_in(area, x, y.log_scale())?,
            (true, false) => self.draw_in(area, x.log_scale(), y)?,
            (true, true) => self.draw_in(area, x.log_scale(), y.log_scale())?,
        }
        area.present()?;
        Ok(())
    }

    fn draw_in<X, Y>(
        &self,
        area: &DrawingArea<SVGBackend<'_>, Shift>,
        x: X,
        y: Y,
    ) -> Result<(), Error>
    where
        X: AsRangedCoord<Value = f64>,
        Y: AsRangedCoord<Value = f64>,
        X::CoordDescType: ValueFormatter<f64>,
        Y::CoordDescType: ValueFormatter<f64>,
    {
        let mut chart = ChartBuilder::on(area)
            .margin(6)
            .margin_right(18)
            .x_label_area_size(40)
            .y_label_area_size(66)
            .build_cartesian_2d(x, y)?;
        let font = ("sans-serif", 13).into_font();
        chart
            .configure_mesh()
            .disable_x_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(GRID)
            .axis_style(GRID)
            .x_labels(8)
            .y_labels(6)
            .x_label_formatter(&|value| number(*value))
            .y_label_formatter(&|value| number(*value))
            .x_desc(&self.x_label)
            .y_desc(&self.y_label)
            .label_style(font.clone().color(&TEXT))
            .axis_desc_style(font.transform(FontTransform::None).color(&TEXT))
            .draw()?;
        for (line, (_, points)) in self.lines.iter().enumerate() {
            let style = LINES[line % LINES.len()].stroke_width(2);
            for piece in points.split(|(_, y)| y.is_none()) {
                let piece: Vec<(f64, f64)> = piece
                    .iter()
                    .filter_map(|(x, y)| Some((*x, (*y)?)))
                    .collect();
                if self.log_x || piece.len() == 1 {
                    let dots = piece.iter().map(|p| Circle::new(*p, 3, style.filled()));
                    chart.draw_series(dots)?;
                }
                chart.draw_series(LineSeries::new(piece, style))?;
            }
        }
        Ok(())
    }
}

/// From 0, or on a logarithmic axis from a little below the least value, to a little above the
/// greatest.
fn range(values: impl Iterator<Item = f64>, log: bool) -> Range<f64> {
    let (mut least, mut most) = (f64::MAX, f64::MIN);
    for value in values {
        (least, most) = (least.min(value), most.max(value));
    }
    if log {
        let least = least.max(1e-3);
        return least * LOG_MARGIN..most.max(least * 2.0) / LOG_MARGIN;
    }
    0.0..if most > 0.0 { most * 1.05 } else { 1.0 }
}

/// Short, and as exact as an axis wants.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let (scaled, unit) = match size {
        _ if size >= 1e9 => (value / 1e9, "G"),
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    let digits = match scaled.abs() {
        s if s >= 100.0 || s == 0.0 => 0,
        s if s >= 10.0 => 1,
        s if s >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{scaled:.digits$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    };
    format!("{text}{unit}")
}

/// Makes the colours those of the page, and lets the picture shrink with it.
fn themed(svg: &str) -> String {
    let mut svg = svg
        .replace("\"#010101\"", "\"var(--text)\"")
        .replace("\"#010102\"", "\"var(--grid)\"")
        .replacen(
            &format!("width=\"{WIDTH}\" height=\"{HEIGHT}\""),
            "role=\"img\"",
            1,
        );
    for line in 0..LINES.len() {
        let name = format!("\"#01020{}\"", line + 1);
        svg = svg.replace(&name, &format!("\"{}\"", colour(line)));
    }
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.5, "12.5"),
            (1500.0, "1500"),
            (250_000.0, "250k"),
            (1_000_000.0, "1M"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn a_picture_has_the_page_s_colours() {
        let plot = Plot {
            lines: vec![(
                "a".to_owned(),
                vec![
                    (0.0, Some(1.0)),
                    (1.0, None),
                    (2.0, Some(3.0)),
                    (3.0, Some(4.0)),
                ],
            )],
            ..Plot::default()
        };
        assert!(!plot.is_empty());
        let svg = plot.svg();
        assert!(svg.contains("var(--line-1)"), "{svg}");
        assert!(svg.contains("var(--text)"));
        assert!(svg.contains("viewBox"));
        assert!(!svg.contains("\"#01"), "{svg}");
    }
}

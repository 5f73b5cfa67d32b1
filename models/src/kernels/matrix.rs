//! Borrowed matrices with strides.

/// A read-only matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> View<'a> {
    /// A matrix whose element (r, c) is `data[r * row_stride + c * col_stride]`.
    ///
    /// # Panics
    /// When the last element lies outside `data`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        if rows > 0 && cols > 0 {
            let last = (rows - 1) * row_stride + (cols - 1) * col_stride;
            assert!(last < data.len(), "a {rows} x {cols} matrix does not fit its slice");
        }
        Self { data, rows, cols, row_stride, col_stride }
    }

    /// A matrix stored row by row without gaps.
    pub fn dense(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols, 1)
    }

    /// The transposed matrix; nothing moves.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements between the starts of neighbouring rows.
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Elements between neighbours in a row.
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// Where the element (0, 0) is. Elements of the matrix are valid to read from it.
    pub(crate) fn start(&self) -> *const f32 {
        self.data.as_ptr()
    }

    /// Element (r, c).
    #[cfg(test)]
    pub(crate) fn at(&self, r: usize, c: usize) -> f32 {
        self.data[r * self.row_stride + c * self.col_stride]
    }

    /// Rows `from .. from + n` and columns `left .. left + m`.
    ///
    /// # Panics
    /// When the part reaches outside the matrix.
    pub fn part(self, from: usize, n: usize, left: usize, m: usize) -> Self {
        assert!(from <= self.rows && n <= self.rows - from && left <= self.cols && m <= self.cols - left);
        if n == 0 || m == 0 {
            return Self { rows: n, cols: m, ..self };
        }
        let at = from * self.row_stride + left * self.col_stride;
        Self { data: &self.data[at..], rows: n, cols: m, ..self }
    }
}

/// A matrix to write, row by row with a stride, each row without gaps.
#[derive(Debug)]
pub struct ViewMut<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) row_stride: usize,
}

impl<'a> ViewMut<'a> {
    /// A matrix whose element (r, c) is `data[r * row_stride + c]`.
    ///
    /// # Panics
    /// When the last element lies outside `data`, or rows overlap.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        if rows > 0 && cols > 0 {
            assert!((rows - 1) * row_stride + cols <= data.len(), "{rows} x {cols} does not fit its slice");
            assert!(rows == 1 || row_stride >= cols, "rows overlap");
        }
        Self { data, rows, cols, row_stride }
    }

    /// A matrix stored row by row without gaps.
    pub fn dense(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols)
    }
}

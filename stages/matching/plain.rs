//! The solver in its plain form, loop for loop as `SciPy` has it: what the faster one must equal, ties included.

use super::Cost;

struct Solution {
    row_price: Vec<f64>,
    column_price: Vec<f64>,
    column_of_row: Vec<Option<usize>>,
    row_of_column: Vec<Option<usize>>,
}

/// The column of each row at the least total cost.
pub(super) fn solve(cost: &Cost) -> Vec<usize> {
    let mut solution = Solution {
        row_price: vec![0.0; cost.rows],
        column_price: vec![0.0; cost.columns],
        column_of_row: vec![None; cost.rows],
        row_of_column: vec![None; cost.columns],
    };
    for row in 0..cost.rows {
        assign_row(cost, &mut solution, row);
    }
    solution.column_of_row.into_iter().map(|column| column.expect("every row has been assigned")).collect()
}

/// Assigns `new_row` along the cheapest alternating path to a free column, and updates the prices.
fn assign_row(cost: &Cost, solution: &mut Solution, new_row: usize) {
    let mut path_cost = vec![f64::INFINITY; cost.columns];
    let mut row_before: Vec<Option<usize>> = vec![None; cost.columns];
    let mut visited_rows = Vec::new();
    let mut visited_columns = Vec::new();
    // Columns not yet visited, from the last to the first: with the comparison below, of equal free columns
    // the lowest is chosen.
    let mut remaining: Vec<usize> = (0..cost.columns).rev().collect();
    let mut row = new_row;
    let mut lowest = 0.0;
    let sink = loop {
        visited_rows.push(row);
        let reached = lowest;
        let mut nearest = None;
        lowest = f64::INFINITY;
        for (at, &column) in remaining.iter().enumerate() {
            let through_row = reached + cost.values[row * cost.columns + column]
                - solution.row_price[row]
                - solution.column_price[column];
            if through_row < path_cost[column] {
                row_before[column] = Some(row);
                path_cost[column] = through_row;
            }
            #[expect(clippy::float_cmp, reason = "an exact tie goes to a free column, which ends the path")]
            let ends_here = path_cost[column] == lowest && solution.row_of_column[column].is_none();
            if path_cost[column] < lowest || ends_here {
                lowest = path_cost[column];
                nearest = Some(at);
            }
        }
        let nearest = nearest.expect("costs are finite and a free column remains");
        let column = remaining.swap_remove(nearest);
        visited_columns.push(column);
        match solution.row_of_column[column] {
            Some(owner) => row = owner,
            None => break column,
        }
    };

    solution.row_price[new_row] += lowest;
    for &row in &visited_rows {
        if row != new_row {
            let column = solution.column_of_row[row].expect("a visited row owns the column that led to it");
            solution.row_price[row] += lowest - path_cost[column];
        }
    }
    for &column in &visited_columns {
        solution.column_price[column] -= lowest - path_cost[column];
    }

    // Each row on the path gives its column to the row behind it and takes the one ahead.
    let mut column = sink;
    loop {
        let row = row_before[column].expect("a column on the path was reached from a row");
        solution.row_of_column[column] = Some(row);
        match solution.column_of_row[row].replace(column) {
            Some(given_up) => column = given_up,
            None => break,
        }
    }
}

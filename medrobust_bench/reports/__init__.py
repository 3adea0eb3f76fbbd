"""What is made of outcomes: numbers, comparisons, tables, figures, pages."""

"""Judging a model: figures with intervals and baselines, the rows behind them, and reports that keep all this.

One file a task says how its rows are judged (`judge.py` has the contract and the registry). `evaluate.py` puts an
evaluation together, `report_store.py` keeps it, `child.py` runs it beside the window. Knows no window and no history.
"""

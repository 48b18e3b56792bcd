import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "run"))  # for run_histories
sys.path.insert(0, str(Path(__file__).parent))  # for plan_makers

import subprocess
import sys
from pathlib import Path

BUILD_THE_APP = """
import sys
from pathlib import Path
from api.app import create_app
from nas_service.settings import Settings
app = create_app(Settings(home=Path(sys.argv[1]), database_url=sys.argv[2]))
app.openapi()
print(sorted({name.partition(".")[0] for name in sys.modules} & {"optuna", "torch", "workers", "sklearn"}))
"""


def test_the_server_runs_without_optuna_torch_and_workers(tmp_path: Path, database_url: str) -> None:
    command = [sys.executable, "-c", BUILD_THE_APP, str(tmp_path), database_url]
    root = Path(__file__).parents[2]
    answer = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.strip() == "[]"

import pathlib
import shutil

for folder in pathlib.Path(os.environ["COPIES"]).glob("proclife-*/*/*"):
    shutil.rmtree(folder, ignore_errors=True)
shutil.rmtree(os.environ["RESULTS"], ignore_errors=True)

import shutil

shutil.rmtree(os.getcwd())

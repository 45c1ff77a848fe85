"""The backend for every platform: the processes of a run seen with psutil, from the caller's."""

import os

# OpenMP's threads spin while they wait for each other, which costs a factor of three where cores are shared. Read once,
# when torch is loaded. A value that is set wins.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

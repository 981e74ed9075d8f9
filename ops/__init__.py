"""What operators and developers run. The scripts in bin/ are its doors."""

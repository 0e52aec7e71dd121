"""What measuring and testing the page needs: runs that are made up, and a browser."""

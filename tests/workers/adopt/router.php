<?php
// For PHP's own server: php -S HOST:PORT router.php
printf("pid=%d slot=%s gen=%s\n", getmypid(), getenv('PREFORK_SLOT'), getenv('PREFORK_GENERATION'));

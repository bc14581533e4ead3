"""What active labels were worth beside random ones in a study: estimates from its control slice."""

from duelist.audit.section import AuditSection as AuditSection
from duelist.audit.section import report_section as report_section
